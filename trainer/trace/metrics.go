package trace

// Metrics is one step of training: one object of metrics.jsonl. Fields of the other phase are absent.
type Metrics struct {
	Step   int     `json:"step"`  // counts SFT steps first, then RL steps
	Phase  string  `json:"phase"` // sft, rl
	Loss   float64 `json:"loss"`
	LR     float64 `json:"lr"`
	Norm   float64 `json:"grad_norm"` // before clipping; of the last update of the step
	Tokens int     `json:"tokens"`    // trained on
	Policy int     `json:"policy_tokens"`
	Speed  float64 `json:"tokens_per_second"` // RL: tokens sampled, observed and prompted, over the whole step
	Time   float64 `json:"seconds"`
	Since  float64 `json:"elapsed"` // since the run began, interruptions left out
	Skip   int     `json:"skipped,omitzero"`
	Ranks  *Ranks  `json:"ranks,omitempty"` // of a run of several

	*RL
}

// RL is what a step of reinforcement learning adds. Shares are of the step's time.
type RL struct {
	Reward        float64        `json:"reward"`
	Rewards       Rewards        `json:"rewards"` // means of all three
	Accuracy      float64        `json:"accuracy"`
	Unjudged      int            `json:"verifier_errors"` // trajectories without a verdict: in no loss and no average
	UnjudgedShare float64        `json:"verifier_error_share"`
	CodeRatio     float64        `json:"code_ratio"`
	Calls         float64        `json:"calls"`    // a trajectory
	CallsOK       float64        `json:"calls_ok"` // share of calls that ran without an error
	Length        float64        `json:"response_length"`
	Observed      float64        `json:"observed"` // tool tokens a trajectory
	KL            float64        `json:"kl"`       // of the policy after its updates' first passes against the rollout's, k3
	Clip          float64        `json:"clip_fraction"`
	DualClip      float64        `json:"dual_clip_fraction"`
	Entropy       float64        `json:"entropy"`
	Kept          float64        `json:"kept_ids,omitzero"` // of the vocabulary, a token, where sampling is truncated
	Difference    float64        `json:"max_difference"`    // largest |rollout − training log-probability|; 0 under the contract
	Checked       int            `json:"checked_tokens"`    // tokens that figure was taken over
	ValueLoss     float64        `json:"value_loss"`
	Explained     float64        `json:"explained_variance"`
	Reference     float64        `json:"kl_reference,omitzero"`     // of the policy against the reference, by rl.kl_estimator
	Resampled     int            `json:"resampled,omitzero"`        // fresh prompts for groups whose rewards were all equal
	ResampledIn   int64          `json:"resampled_tokens,omitzero"` // policy tokens of groups that were left out for that
	Flat          int            `json:"flat_groups,omitzero"`      // groups whose rewards are all equal, of those that were to be learnt from
	Filtered      Filtered       `json:"filtered,omitzero"`
	Finish        map[string]int `json:"finish"`
	Rollout       float64        `json:"rollout_share"`
	ToolWait      float64        `json:"tool_wait_share"`
	Score         float64        `json:"score_share"`
	Train         float64        `json:"train_share"`
	Sampled       int64          `json:"sampled"`
	Prefilled     int64          `json:"prefilled"`
	Recomputed    int64          `json:"recomputed"`
	DecodeRate    float64        `json:"decode_tokens_per_second"` // of all ranks together
}

// Ranks is how a step's work lay on the ranks.
type Ranks struct {
	Rollout  []float64 `json:"rollout_seconds,omitempty"` // RL: each rank's, until it had no trajectory left
	Tail     float64   `json:"tail_share,omitzero"`       // RL: of the ranks' time while any of them rolled out: spent without a trajectory
	Exchange float64   `json:"exchange_share"`            // of rank 0's step: spent in exchanges to which all ranks had come
	Wait     float64   `json:"wait_share"`                // of rank 0's step: spent until they had, the wait for rollouts left out
}

// Filtered is how many trajectories each filter left out of the loss.
type Filtered struct {
	VoidTurns  int `json:"void_turns,omitzero"`
	Overlong   int `json:"overlong,omitzero"`
	Repetition int `json:"repetition,omitzero"`
	Spread     int `json:"spread,omitzero"`
}

// Behaviour holds the six metrics of the paper's figure 3 over a set of responses, with the alternatives that its wording leaves
// open, and counts that explain them.
type Behaviour struct {
	Responses int `json:"responses"`

	ResponseLength        float64 `json:"response_length"` // sampled + observed tokens, mean
	ResponseLengthSampled float64 `json:"response_length_sampled"`
	ResponseLengthPrompt  float64 `json:"response_length_with_prompt"`

	CodeRatio float64 `json:"code_ratio"` // responses with at least one snippet

	CodeLines         float64 `json:"code_lines"`           // non-blank lines, mean over responses
	CodeLinesWithCode float64 `json:"code_lines_with_code"` // mean over responses with code
	CodeLinesSnippet  float64 `json:"code_lines_snippet"`   // mean over snippets

	CorrectCodeCount int `json:"correct_code_count"` // snippets that ran to their end
	Snippets         int `json:"snippets"`

	CodePassCorrect float64 `json:"code_pass_rate_correct"` // last snippet ran, among correct responses with code
	CodePassWrong   float64 `json:"code_pass_rate_wrong"`

	CodeTiming      float64 `json:"code_timing"` // position of <code> in the response, 0 to 1, mean over snippets
	CodeTimingFirst float64 `json:"code_timing_first"`

	FixedRate float64        `json:"fixed_rate"` // a failed snippet later followed by one that ran, among responses with a failed one
	Turns     float64        `json:"num_turns"`  // user + assistant + 1
	Status    map[string]int `json:"status"`
	Finish    map[string]int `json:"finish"`
	Families  map[string]Sum `json:"families,omitempty"`
}

// Sum is a count of correct responses among all.
type Sum struct{ Correct, All int }

// Behave computes the metrics from records alone. Records of trajectories lost to the sandbox are left out.
func Behave(records []Record) Behaviour {
	b := Behaviour{Status: map[string]int{}, Finish: map[string]int{}, Families: map[string]Sum{}}
	var withCode, failed, fixed, lastCorrect, lastWrong, passCorrect, passWrong, first int
	for _, r := range records {
		b.Finish[r.Finish]++
		if r.Finish == "sandbox_error" {
			continue
		}
		b.Responses++
		f := b.Families[r.Family]
		f.All++
		correct := r.Outcome == "correct"
		if correct {
			f.Correct++
		}
		b.Families[r.Family] = f
		sampled := 0
		for i := range r.Sources {
			if r.Sources[i] == 'm' {
				sampled++
			}
		}
		response := len(r.IDs) - r.Prompt
		b.ResponseLength += float64(response)
		b.ResponseLengthSampled += float64(sampled)
		b.ResponseLengthPrompt += float64(len(r.IDs))
		var hasCode, hasFailed, hasFixed, passed bool
		for _, c := range r.Calls {
			b.Status[c.Status]++
			if c.Code == "" {
				continue
			}
			n := nonBlankLines(c.Code)
			b.CodeLines += float64(n)
			b.Snippets++
			at := float64(c.From-r.Prompt) / float64(response)
			b.CodeTiming += at
			if !hasCode {
				b.CodeTimingFirst += at
				first++
			}
			hasCode = true
			if passed = c.OK(); passed {
				b.CorrectCodeCount++
				hasFixed = hasFixed || hasFailed
			} else if c.Ran() {
				hasFailed = true
			}
		}
		b.Turns += 2 + 2*float64(len(r.Calls))
		if hasFailed {
			failed++
			if hasFixed {
				fixed++
			}
		}
		if !hasCode {
			continue
		}
		withCode++
		switch {
		case correct:
			lastCorrect++
			if passed {
				passCorrect++
			}
		default:
			lastWrong++
			if passed {
				passWrong++
			}
		}
	}
	n := b.Responses
	lines := b.CodeLines
	for _, mean := range []*float64{&b.ResponseLength, &b.ResponseLengthSampled, &b.ResponseLengthPrompt, &b.CodeLines, &b.Turns} {
		*mean = ratio(*mean, n)
	}
	b.CodeRatio = ratio(float64(withCode), n)
	b.CodeLinesWithCode = ratio(lines, withCode)
	b.CodeLinesSnippet = ratio(lines, b.Snippets)
	b.CodeTiming = ratio(b.CodeTiming, b.Snippets)
	b.CodeTimingFirst = ratio(b.CodeTimingFirst, first)
	b.CodePassCorrect = ratio(float64(passCorrect), lastCorrect)
	b.CodePassWrong = ratio(float64(passWrong), lastWrong)
	b.FixedRate = ratio(float64(fixed), failed)
	return b
}

func ratio(x float64, n int) float64 {
	if n == 0 {
		return 0
	}
	return x / float64(n)
}

func nonBlankLines(code string) int {
	n, blank := 0, true
	for i := 0; i <= len(code); i++ {
		switch {
		case i == len(code) || code[i] == '\n':
			if !blank {
				n++
			}
			blank = true
		case code[i] != ' ' && code[i] != '\t' && code[i] != '\r':
			blank = false
		}
	}
	return n
}
