// Package answer decides whether an answer is right.
//
//   - [Verifier.Grade] finds the boxed answer in a response and compares it with the ground truth. Its [Outcome] is typed: an answer that
//     the verifier could not judge is a [VerifierError], which is not a wrong answer and must never become a reward.
//   - [Verifier.Equal] is the comparison alone, [Box] the extraction, [Verifier.Check] says whether a ground truth can be graded by, and
//     [LooksLikeSolution] whether it is one or a whole solution.
//   - [DAPOStrict] and [ToolShaped] are two published rewards, reproduced with their edges for comparison.
//
// All functions are safe for concurrent use, keep no state, and bound the work on text that a model wrote.
//
// # Two verifiers
//
// [Math], the default, compares what answers mean. A text is cut into tokens (lex.go), in which \dfrac and \frac, 12{,}000 and 12000, ≤
// and \leqslant are one; a recursive-descent parser (parse.go, expression.go, function.go, relation.go) reads them into a value
// (value.go), whose expressions are in normal form (form.go, power.go): a quotient of two polynomials with rational coefficients, exact,
// in symbols, π, e, i, roots of primes, and whatever else stays whole, such as ln 2 or sin x. Two forms are equal if the products across
// are the same polynomial. There is no floating point, so 0.333 is not 1/3 and 3.14 is not π, and no search: identities that the normal
// form does not use, such as sin 2x = 2 sin x cos x, are not found.
//
// The rule is: when in doubt, not equal. What has no certain reading is compared as text, where only blanks, case and variants of
// commands count for nothing (words.go). A right answer graded wrong costs one sample; a wrong one graded right is what a policy learns.
//
// [DAPO] compares strings after the normalisation by which published figures were graded (dapo.go). Its false positives are part of it:
// "3x−y=0" is 0, what follows the last equals sign; "12, 3" is "1, 23" and "3 1/2" is 31/2, since blanks and then commas between digits
// are dropped; "30 minutes" is "30 hours", and "man power" is "mpower". It goes beyond its rule in two places: an answer of which
// nothing is left equals nothing, and \dfrac and \tfrac are read as fractions like \frac.
//
// # Choices of Math
//
// Each may be argued; each has its row in testdata/pairs.txt.
//
//   - The last box counts, \boxed or \fbox; \boxed 7 is a box, and "\boxed" in prose is none. Two boxes are not a list: the last is the
//     answer.
//   - 1,234 is a number, 1,2 a list: commas group digits only by threes, throughout, and outside of brackets, where they part items. So do
//     \, and no-break and plain blanks. "1,234" in a list of numbers is best written with blanks.
//   - 2\frac12 and 2 1/2 are 5/2: a whole number before a proper fraction of whole numbers. 2\frac32 is read as neither.
//   - 1/2x and sin x/2 have no certain reading; nor has \sqrt12, or x^ab.
//   - What is equal is right, evaluated or not: \sqrt{49} is 7 and 2^{10} is 1024. A question of simplifying cannot be told from others.
//   - 40% is 40, by the rule for units, and 0.4, by its meaning: which of them was asked for is not in the answer.
//   - A unit is dropped if the other side has none, and never converted: 1 m is not 100 cm. A unit is a word in the
//     list of units.go, and in \text a plural noun besides; what else stands behind a number ("squared", "below zero", "or more") may
//     change it. Outside of \text a single letter is a symbol. Million, lakh and dozen are numbers.
//   - 3-2, 2024-01-05 and 1/2/2024 may be a score, a range or a date, and equal only themselves; so do 0 = 0 and what is calculated with
//     ∞.
//   - A bare list has no order and equals the set of its items; (1, 2) and [1, 2] have one, and are neither list nor set, since they may be
//     intervals. With three items or more they equal the bare list in the same order. "red or blue" is not "red, blue", nor x = 2 or
//     y = 3 the pair of both; numbers may be joined either way.
//   - x = 5 is 5 with a name, and names must agree: x = 3 is not y = 3. A list of named values equals one without names if they share a
//     name. Names are single symbols, with index or argument, AB, ∠ABC, P(A), words.
//   - Other equations are compared whole, up to a factor; one that is solved for a number is not equal to the one it solves, or a policy
//     could give back the question. 2x = 10 is not x = 5, and x + y = 5 is not 5.
//   - An inequality in one symbol is its interval: x > 3 is (3, ∞).
//   - \overline{AB} is the segment AB; \overline{27}, 1011_2, 3:4 and 12:30 are what they look like, equal only to themselves.
//   - xy is yx where the letters make no words; ℝ is (−∞, ∞). 0{,}5 is 0.5, and 1_000_000 is 1000000. x = 1 \quad y = 2 is a list.
//   - \pm is two answers. Two of them in one answer are text: whether their signs go together is not said.
//   - ∛−8 is −2; (−8)^{1/3} is text. log is not ln: its base is not said. In sin 30°, ° is π/180.
//   - Words are compared without case and article; one letter, and two capitals, keep their case: A is not a.
//   - "The answer is", ≈, =, dollar signs, quotes, back-ticks, asterisks, a full stop and braces around an answer are no part of it.
package answer
