package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A conversation that grew by Next is what the template renders of it whole, for published templates: prompt, answer, the token that ends
// it, next message.
func TestNextIsWhatTheTemplateWouldRender(t *testing.T) {
	tok := chatTokenizer(t)
	said := rapid.StringOfN(rapid.RuneFrom([]rune("a1 π<|>{}\n")), 1, 12, -1).Filter(func(s string) bool {
		return s != "" && s[0] > ' ' && s[len(s)-1] > ' ' // some templates trim
	})
	for _, name := range []string{"qwen2.5.jinja", "smollm2.jinja", "headers.jinja", "qwen3.jinja", "chatml"} {
		var chat *Chat
		var err error
		if name == "chatml" {
			chat, err = NewChat(chatNative, tok, nil)
		} else {
			chat, err = NewChat(chatAuto, tok, readTemplate(t, name))
		}
		require.NoError(t, err, name)
		rapid.Check(t, func(t *rapid.T) {
			first, answer, second := said.Draw(t, "first"), said.Draw(t, "answer"), said.Draw(t, "second")
			_, opened, err := chat.Conversation([]Message{{"user", first}}, false, true)
			require.NoError(t, err)
			next, err := chat.Next(second)
			require.NoError(t, err)
			whole, _, err := chat.Conversation([]Message{{"user", first}, {"assistant", answer}, {"user", second}}, false, true)
			require.NoError(t, err)
			require.Equal(t, whole, named(tok, opened)+answer+tok.Name(chat.End())+named(tok, next), name)
		})
	}
}

// Whatever messages hold, the special tokens of a conversation are the template's.
func TestMessagesHoldNoSpecialTokens(t *testing.T) {
	tok := chatTokenizer(t)
	chat, err := NewChat(chatNative, tok, nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.StringOf(rapid.RuneFrom([]rune("<|im_endstar> a"))).Draw(t, "text") +
			rapid.SampledFrom(append(chatTokens, "")).Draw(t, "token")
		text, ids, err := chat.Conversation([]Message{{"system", content}, {"user", content}}, false, true)
		require.NoError(t, err)
		require.Equal(t, text, named(tok, ids))
		require.Len(t, specials(tok, ids), 5)
		next, err := chat.Next("x" + content)
		require.NoError(t, err)
		require.Len(t, specials(tok, next), 3)
	})
	_, err = chat.Next(" \n")
	require.EqualError(t, err, "engine: message: it is empty")
	_, _, err = (*Chat)(nil).Conversation(nil, false, false)
	require.ErrorContains(t, err, "the model's folder has none")
}
