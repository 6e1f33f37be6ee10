// Package hub fetches models and datasets from a hub that speaks Hugging Face's HTTP API, into the cache that transformers and
// huggingface_hub share, or into a plain folder.
//
// A Client asks; a Repo names what is wanted; Fetch resolves its revision to a commit, lists the commit's files, and downloads those
// that its patterns name. A File is written beside its final name, resumed after a cut, compared with the hash that the hub lists, and
// renamed: a reader never sees half of one. The access token goes to the hub's own host and to no other.
//
// The package reads no environment variable and prints nothing.
package hub
