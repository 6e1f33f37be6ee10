// Package rewrite makes cold-start traces with tool use out of worked solutions in text, as section 3.1 of the ReTool paper (arXiv
// 2504.11536) describes: a language model behind an OpenAI-compatible endpoint replaces manual calculation by code and its result, and
// whatever it writes is verified before it is believed.
//
// A Row goes in; Run asks an Endpoint, and a Checker executes every snippet twice, compares, verifies form and answer, and splits what
// is left into segments. A row comes out as a trace, or as a Drop with its reason: accepted and dropped rows add up to those read. A
// journal beside the output holds every reply and verdict, so that a run that was cut asks about no row again.
package rewrite
