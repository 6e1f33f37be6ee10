// Package data is what a model learns from and is judged on.
//
//   - A [Problem] is a question with its ground truth.
//   - A [Trace] is a problem with a worked response, cut into [Segment]s by who wrote them: the policy, or the tool.
//   - [ReadProblems] and [ReadTraces] take JSON Lines files of others, with file and line in every error.
//
// Field names match to the letter, text is valid UTF-8 with whole surrogate pairs, and a number is taken as the text it is written
// with: what a row says is what is learnt.
package data
