package engine

import "strings"

// Render puts a question into a prompt template. The templates are data of the method and are matched byte for byte.
func Render(template, question string) string {
	switch template {
	case "retool-repo":
		return strings.Replace(retoolRepo, "{query}", question, 1)
	case "paper-fig7":
		return strings.Replace(paperFig7, "{question}", question, 1)
	case "verl":
		return question + verlSuffix
	}
	return question + "\n"
}

// retoolRepo is evaluation/prompt_template.json of ReTool-RL/ReTool (Apache-2.0), its doubled braces undone.
const retoolRepo = "" +
	"Solve the following problem step by step. You now have the ability to selectively write executable Python code to enhance your " +
	"reasoning process. The Python code will be executed by an external sandbox, and the output (wrapped in " +
	"`<interpreter>output_str</interpreter>`) can be returned to aid your reasoning and help you arrive at the final answer. The Python " +
	"code should be complete scripts, including necessary imports. \n" +
	"Each code snippet is wrapped with `" + openCode + "\n" +
	"```python\n" +
	"code snippet\n" +
	"```\n" +
	closeCode + "`.\n" +
	"The last part of your response should be in the following format:\n" +
	"<answer>\n" +
	"\\boxed{'The final answer goes here.'}\n" +
	"</answer>\n" +
	"\n" +
	"*user question:*\n" +
	"Answer the following Math Problem and put the answer in the format of \\boxed{answer}\n" +
	"\n" +
	"{query}\n" +
	"\n" +
	"\n" +
	"Remember to place the final answer in the last part using the format: \n" +
	"<answer>\n" +
	"\\boxed{'The final answer goes here.'}\n" +
	"</answer>"

// paperFig7 is the prompt of the paper's figure 7.
const paperFig7 = "" +
	"Solve the following problem step by step. You now have the ability to selectively write executable Python code to enhance your " +
	"reasoning process. The Python code will be executed by an external sandbox, and the output (wrapped in " +
	"<interpreter>output</interpreter>) can be returned to aid your reasoning and help you arrive at the final answer. The Python code " +
	"should be complete scripts, including necessary imports.\n" +
	"\n" +
	"Code Format:\n" +
	"Each code snippet is wrapped with\n" +
	openCode + "\n" +
	"```python\n" +
	"code snippet\n" +
	"```\n" +
	closeCode + "\n" +
	"\n" +
	"Answer Format:\n" +
	"The last part of your response should be:\n" +
	"<answer>\\boxed{'The final answer goes here.'}</answer>\n" +
	"\n" +
	"User Question:\n" +
	"{question}\n" +
	"\n" +
	"Assistant:"

// verlSuffix is what the verl recipe writes behind a question of its data sets.
const verlSuffix = "\nThe answer format must be: \\boxed{'The final answer goes here.'}"
