package rewrite

import (
	"strings"
)

// Tags around the rewritten solution in a reply.
const (
	openProcess  = "<revised_thinking_process>"
	closeProcess = "</revised_thinking_process>"
)

// instruction asks for the rewriting. Its seven rules are those of the paper's figure 8.
const instruction = "You are given a problem and a thinking process that solves it by text alone. " +
	"Rewrite the thinking process so that it uses a Python interpreter where manual calculation benefits from it. " +
	"Leave the core of the reasoning, and every word outside the parts that you replace, as it is." + `

Rules:
1. Identify the sections where executing code makes the reasoning faster or more accurate.
2. Replace the manual steps of those sections by code snippets and the interpreter's results.
3. Keep the logical flow, failed attempts and explorations included.
4. Every snippet is a complete script with its imports, and contains no markdown and no tags of its own.
5. Every snippet prints what it computes by calling print.
6. The stated result is exactly what the interpreter prints, no token more or less.
7. If the thinking process does not end with an answer section, add one at the end: <answer> \boxed{'The final answer goes here.'} </answer>

Form of a snippet and its result:
<code>
` + "```python" + `
snippet
` + "```" + `
</code>
<interpreter>
result
</interpreter>

Wrap the whole rewritten thinking process in ` + openProcess + ` and ` + closeProcess + `.

Problem:
{question}

Thinking process:
{solution}`

// prompt is what the endpoint is asked about a row.
func prompt(r Row) string {
	return strings.NewReplacer("{question}", r.Problem.Question, "{solution}", r.Solution).Replace(instruction)
}
