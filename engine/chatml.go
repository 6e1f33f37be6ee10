package engine

import "strings"

// A conversation is what a chat template renders. tools: the code interpreter is on offer; generate: the assistant's next turn is begun.
type conversation struct {
	messages        []message
	tools, generate bool
}

type message struct{ role, content string }

// The one tool, as chat templates print it: OpenAI's schema, with the key order and the separators of Python's json.dumps. Name and
// description are those of the verl recipe.
const (
	toolName = "code_interpreter"
	toolJSON = `{"type": "function", "function": {"name": "` + toolName + `", "description": "A tool for executing code.", ` +
		`"parameters": {"type": "object", "properties": {"code": {"type": "string", "description": "The code to execute."}}, ` +
		`"required": ["code"]}}}`
)

// The marks of ChatML and of function calls in the Hermes form.
const (
	turnStart, turnEnd          = "<|im_start|>", "<|im_end|>"
	openCall, closeCall         = "<tool_call>", "</tool_call>"
	openResponse, closeResponse = "<tool_response>", "</tool_response>"
)

// chatML renders a conversation as Qwen2.5's template does, its default system prompt included.
func chatML(c conversation) (string, error) {
	system, rest := "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", c.messages
	if len(rest) > 0 && rest[0].role == "system" {
		system, rest = rest[0].content, rest[1:]
	}
	var b strings.Builder
	b.WriteString(turnStart + "system\n" + system)
	if c.tools {
		b.WriteString(chatMLTools)
	}
	b.WriteString(turnEnd + "\n")
	for i, m := range rest {
		if m.role != "tool" {
			b.WriteString(turnStart + m.role + "\n" + m.content + turnEnd + "\n")
			continue
		}
		if i == 0 || rest[i-1].role != "tool" {
			b.WriteString(turnStart + "user")
		}
		b.WriteString("\n" + openResponse + "\n" + m.content + "\n" + closeResponse)
		if i+1 == len(rest) || rest[i+1].role != "tool" {
			b.WriteString(turnEnd + "\n")
		}
	}
	if c.generate {
		b.WriteString(turnStart + "assistant\n")
	}
	return b.String(), nil
}

// chatMLTools follows the system prompt of Qwen2.5's template (Apache-2.0) where there are tools.
const chatMLTools = "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
	"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" + toolJSON + "\n</tools>\n\n" +
	"For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n" +
	openCall + "\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n" + closeCall
