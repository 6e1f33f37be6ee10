// Package filelock keeps two processes off one file or folder: a run directory, a journal, a hub's cache. The locks are flock's, those of
// huggingface_hub.
package filelock
