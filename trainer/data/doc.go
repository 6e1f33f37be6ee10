// Package data is what a model learns from and is judged on, and how it is read from the files of others.
//
//   - A [Problem] is a question with its ground truth.
//   - A [Trace] is a problem with a worked response, cut into [Segment]s by who wrote them: the policy, or the tool.
//   - A [File] is rows: JSON Lines, a JSON array of objects, or Parquet, told apart by what it holds. Rows are read one at a time.
//   - A [Layout] says which columns hold what. [File.Layout] recognises those of public sets; [Columns] name others.
//   - A [Form] is how a call and its reply are written in text; traces of other forms are put into it.
//
// Column names match to the letter, text is valid UTF-8 with whole surrogate pairs, and a number is taken as the text it is written
// with: what a row says is what is learnt. Every error names file and row; a [RowError] leaves the rows after it readable.
package data
