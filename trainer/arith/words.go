package arith

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// WordProblems are everyday problems of one or two steps on numbers of up to three digits, which a small pretrained language model half
// masters by hand. Responses without code work them out, an equation a line, all of them right. Numbers being small, problems of the two
// splits do share single steps, such as 7 * 34.
var WordProblems = &Task{families: wordFamilies, inHead: worked}

// A slot is a place in a wording that takes any of some texts.
type slot struct {
	place string
	texts []string
}

var slots = []slot{
	{"{name}", []string{"Tom", "Anna", "Maria", "Ben", "Lucy", "Omar", "Sara", "Jack", "Emma", "Leo"}},
	{"{things}", []string{"apples", "books", "pencils", "cards", "stamps", "marbles", "coins", "shells", "stickers", "eggs"}},
	{"{boxes}", []string{"boxes", "bags", "baskets", "packs", "trays"}},
}

// A step is one operation of a solution by hand, on two of the numbers there are: the operands, then the results of earlier steps.
type step struct {
	op   byte // + - * /
	a, b int
}

// byHand runs the steps on operands and returns the last result and the equations.
func byHand(plan []step, ops []int) (result int, equations []string) {
	known := append([]int(nil), ops...)
	for _, s := range plan {
		a, b := known[s.a], known[s.b]
		switch s.op {
		case '+':
			result = a + b
		case '-':
			result = a - b
		case '*':
			result = a * b
		case '/':
			result = a / b
		}
		known = append(known, result)
		equations = append(equations, fmt.Sprintf("%d %c %d = %d", a, s.op, b, result))
	}
	return result, equations
}

// worded is a family whose code prints expr, {0}, {1}, … in it standing for the operands.
func worded(name, expr string, plan []step, draw func(*rand.Rand) []int, wordings ...string) family {
	return family{
		name: name, draw: draw, wordings: wordings,
		solve: func(ops []int) []call {
			result, _ := byHand(plan, ops)
			code := expr
			for i, n := range ops {
				code = strings.ReplaceAll(code, "{"+strconv.Itoa(i)+"}", strconv.Itoa(n))
			}
			return []call{{expr: code, output: strconv.Itoa(result)}}
		},
		steps: func(ops []int) []string { _, equations := byHand(plan, ops); return equations },
	}
}

var wordFamilies = []family{
	worded("more", "{0}+{1}", []step{{'+', 0, 1}},
		func(r *rand.Rand) []int { return []int{between(r, 101, 499), between(r, 12, 99)} },
		"{name} has {0} {things} and gets {1} more. How many {things} does {name} have now?",
		"A school has {0} boys and {1} girls. How many children are there?",
		"{name} walked {0} meters before lunch and {1} meters after it. How far was that in all?"),
	worded("fewer", "{0}-{1}", []step{{'-', 0, 1}},
		func(r *rand.Rand) []int {
			b := between(r, 12, 79)
			return []int{b + between(r, 5, 60), b}
		},
		"{name} had {0} {things} and gave away {1}. How many are left?",
		"A book has {0} pages. {name} has read {1}. How many pages are left to read?",
		"Of {0} {things}, {1} were sold. How many {things} remain?"),
	worded("times", "{0}*{1}", []step{{'*', 0, 1}},
		func(r *rand.Rand) []int { return []int{between(r, 2, 9), between(r, 11, 60)} },
		"{name} buys {0} {boxes} of {1} {things} each. How many {things} is that?",
		"A machine makes {1} {things} an hour. How many does it make in {0} hours?",
		"There are {0} shelves with {1} {things} on each. How many {things} are there?"),
	worded("share", "{0}//{1}", []step{{'/', 0, 1}},
		func(r *rand.Rand) []int {
			n := between(r, 2, 9)
			return []int{n * between(r, 6, 55), n}
		},
		"{0} {things} are shared equally by {1} children. How many does each get?",
		"{name} puts {0} {things} into {1} {boxes}, the same number into each. How many go into one?",
		"A prize of {0} dollars is split evenly among {1} winners. How many dollars does each get?"),
	worded("area", "{0}*{1}", []step{{'*', 0, 1}},
		func(r *rand.Rand) []int { return []int{10 * between(r, 2, 9), between(r, 11, 60)} },
		"A hall has {0} rows of {1} seats. How many seats are there?",
		"A field is {0} meters long and {1} meters wide. What is its area in square meters?",
		"{name} reads {0} pages a day for {1} days. How many pages is that?"),
	worded("times and more", "{0}*{1}+{2}", []step{{'*', 0, 1}, {'+', 3, 2}},
		func(r *rand.Rand) []int { return []int{between(r, 3, 9), between(r, 6, 19), between(r, 12, 60)} },
		"{name} buys {0} {boxes} of {1} {things} and has {2} {things} at home. How many {things} does {name} have in all?",
		"A tour costs {2} dollars plus {1} dollars for each person. What do {0} people pay?",
		"{name} saves {1} dollars a week for {0} weeks and had {2} dollars before. How many dollars are there now?"),
	worded("change", "{0}-{1}*{2}", []step{{'*', 1, 2}, {'-', 0, 3}},
		func(r *rand.Rand) []int {
			n, price := between(r, 3, 9), between(r, 6, 19)
			return []int{n*price + between(r, 12, 60), n, price}
		},
		"{name} has {0} cents and buys {1} {things} at {2} cents each. How many cents are left?",
		"Of {0} {things}, {name} fills {1} {boxes} with {2} each. How many {things} are left over?",
		"A tank holds {0} liters. It loses {2} liters an hour. How much is in it after {1} hours?"),
	worded("two kinds", "{0}*{1}+{2}*{3}", []step{{'*', 0, 1}, {'*', 2, 3}, {'+', 4, 5}},
		func(r *rand.Rand) []int {
			return []int{between(r, 3, 9), between(r, 5, 15), between(r, 3, 9), between(r, 5, 15)}
		},
		"{name} sells {0} tickets at {1} dollars and {2} at {3} dollars. How many dollars is that?",
		"There are {0} tables with {1} {things} each and {2} with {3} each. How many {things} are there?",
		"{name} works {0} hours at {1} dollars an hour and {2} hours at {3} dollars. How many dollars does {name} earn?"),
	worded("in and out", "{0}-{1}+{2}", []step{{'-', 0, 1}, {'+', 3, 2}},
		func(r *rand.Rand) []int {
			off := between(r, 12, 60)
			return []int{off + between(r, 12, 60), off, between(r, 12, 60)}
		},
		"A train carries {0} people. {1} get off and {2} get on. How many are on it now?",
		"{name} has {0} {things}, loses {1} and finds {2}. How many {things} does {name} have then?",
		"A shop had {0} {things}. It sold {1} and ordered {2}. How many does it have now?"),
	worded("rest shared", "({0}-{1})//{2}", []step{{'-', 0, 1}, {'/', 3, 2}},
		func(r *rand.Rand) []int {
			n, away := between(r, 3, 9), between(r, 12, 60)
			return []int{n*between(r, 4, 15) + away, away, n}
		},
		"{name} has {0} {things}, keeps {1} and shares the rest equally among {2} friends. How many does each friend get?",
		"Of {0} {things}, {1} are broken. The others go into {2} {boxes} in equal numbers. How many are in one?",
		"A bill is {0} dollars. {name} pays {1} of it and {2} others split the rest. How many dollars does each of them pay?"),
}
