// Package report turns a run directory into one web page that needs nothing but a browser.
//
//	Run    what the page says of a run besides what its logs hold: facts, settings, results, evaluations; Fact is one line of the header
//	Write  reads metrics.jsonl and trajectories.jsonl of a Run and writes the page
//
// The page holds its data as JSON in an inert script element and draws it with page/page.js and uPlot. Its content security policy
// allows the inline script and style by their hashes and nothing else, so that no text a model or its code printed can become markup,
// script or a request: page.js builds every element with createElement and textContent.
//
// A run logs far more than a page can show. Curves longer than MaxPoints are averaged in buckets. Trajectories are sampled, the same
// ones every time: first, middle and last step and every evaluation, balanced over what became of them and over families, and the
// same problems in every evaluation so that two can be read side by side.
//
// Departures from the design: R-15 asks for the difference of two steps' log-probabilities token by token; a Record holds the
// rollout's log-probabilities and the largest difference of the trajectory, and the page shows these. Figure 3's curves come from the
// training rollouts of every step, computed again from the records, with the evaluations as points on them.
package report
