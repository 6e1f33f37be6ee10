package answer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStrictIsDAPOStrict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{`\boxed{7}`, `\boxed{ 7}`, `\boxed{42`, "7", " ", "\n", strings.Repeat("x", 90), "</code>",
			"Answer: 7"})
		text := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "text"), "")
		truth := rapid.SampledFrom([]string{"7", "42", " 7"}).Draw(t, "truth")
		reward, _ := DAPOStrict(text, truth, true)
		require.Equal(t, reward > 0, Strict.Grade(text, truth) == Correct)
	})
	require.Equal(t, NoAnswer, Strict.Grade(`\boxed{7}`+strings.Repeat("x", 100), "7"), "the box begins before the last 100 characters")
	require.Equal(t, Wrong, Strict.Grade(`\boxed{'42'}`, "42"))
	require.Equal(t, VerifierError, Strict.Grade(`\boxed{}`, ""))
	require.Error(t, Strict.Check(""))
	require.NoError(t, Strict.Check(" 7"))
}

func TestLenientTakesTheLastLinesInteger(t *testing.T) {
	for _, c := range []struct {
		text, truth string
		want        Outcome
	}{
		{`so \boxed{7}`, "7", Correct},
		{`so \boxed{8}` + "\nthat is 7", "7", Correct},
		{"the answer is 1,024.", "1024", Correct},
		{"first 3, then -12", "-12", Correct},
		{"7\nno number here", "7", NoAnswer},
		{"7\n8", "7", Wrong},
		{"8\n7\n \n", "7", Correct},
		{"about 3.7", "7", NoAnswer},
		{`\boxed{8}`, "7", Wrong},
		{"7", `\text{ }`, VerifierError},
	} {
		require.Equal(t, c.want, Lenient.Grade(c.text, c.truth), c.text)
	}
}

// What Math takes for right, Lenient does.
func TestLenientIsNoStricterThanMath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{`\boxed{7}`, "7", "8", "\n", " ", `\boxed{1/2}`, "3.5"})
		text := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "text"), " ")
		truth := rapid.SampledFrom([]string{"7", "0.5", "8"}).Draw(t, "truth")
		if Math.Grade(text, truth) == Correct {
			require.Equal(t, Correct, Lenient.Grade(text, truth))
		}
	})
}
