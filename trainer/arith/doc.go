// Package arith is the embedded learning tasks: [Arithmetic], which a model of a million parameters cannot do in its head and one line of
// Python can, and [WordProblems], which a pretrained model of a hundred million half masters. Everything in it is a pure function of a
// seed.
//
// [Task.Problems] and [Task.Traces] make what package data defines: questions in English with one integer as their answer, in ten families
// of three or four wordings each, and worked responses to them.
//
//   - A [Split] keeps training and test apart: the operands of a problem, hashed, decide which side it is on.
//   - A [Mix] says how many traces use code that works, code that fails, or no code at all.
//
// [Vocabulary] lists the token pieces that make Arithmetic's prompts and traces short: digits stay single, the words of the task, of the
// protocol and of its error messages are one token each.
//
// The protocol is the one with tags: a call is a fenced snippet between <code> tags, its observation comes back between
// <interpreter> tags, the answer is boxed. Of the two published ways to report a failed call the embedded tasks take the
// short one: the traceback's last line, with whatever had been printed before dropped.
//
// What makes a family of Arithmetic: its numbers have two to six digits and no run of three equal ones, since a small model loses count in
// such a run while it copies; its answer cannot be guessed (the best constant guess is right in a few per cent of the cases);
// its code takes the numbers as the question states them. Two families need more than one call: "chain" feeds a first
// result into a second call, and in "inverse" an error message is what tells the model that it has to ask something else.
package arith
