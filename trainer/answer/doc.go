// Package answer decides whether an answer is right, by rules on strings and exact fractions. No floating point, no algebra, no
// interpreter: what it accepts can be read off the text.
//
//   - [Grade] finds the boxed answer in a response and compares it with the ground truth. Its [Outcome] is typed: an answer that the
//     verifier could not judge is a [VerifierError], which is not a wrong answer and must never become a reward.
//   - [Equal] is the comparison alone, [Box] the extraction.
//   - [Limits] bound the work on text that a model wrote. The functions of the package use [DefaultLimits].
//   - [DAPOStrict] and [ToolShaped] are two published rewards, reproduced with their edges for comparison.
//
// All functions are safe for concurrent use and keep no state.
//
// The normalisation is the one by which published numbers were graded, with its peculiarities: "1,2" and "12" are one number to
// it, since commas between digits are taken for thousands, and "x=5" is 5. Here this package goes beyond its rule on purpose: an
// answer of which nothing is left equals nothing, and \dfrac and \tfrac are read as fractions like \frac.
package answer
