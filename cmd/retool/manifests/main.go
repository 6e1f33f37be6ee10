// Command manifests decodes what `retool launch --k8s` prints into the types that Kubernetes, JobSet and Kubeflow Trainer publish,
// strictly: an unknown or misspelt field fails. It is a module of its own, so that retool's go.mod stays free of theirs.
//
//	retool launch --k8s jobset … -- train … | go run .
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	trainer "github.com/kubeflow/trainer/v2/pkg/apis/trainer/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = check(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manifests: "+err.Error())
		os.Exit(1)
	}
}

// check decodes every document of a stream.
func check(text []byte) error {
	for i, doc := range bytes.Split(text, []byte("\n---\n")) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return fmt.Errorf("document %d: %w", i+1, err)
		}
		into := map[string]any{
			"v1 Service": &corev1.Service{}, "batch/v1 Job": &batchv1.Job{}, "jobset.x-k8s.io/v1alpha2 JobSet": &jobset.JobSet{},
			"trainer.kubeflow.org/v1alpha1 TrainJob": &trainer.TrainJob{},
		}[head.APIVersion+" "+head.Kind]
		if into == nil {
			return fmt.Errorf("document %d is a %q of %q, which is not known here", i+1, head.Kind, head.APIVersion)
		}
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			return fmt.Errorf("document %d, %s: %w", i+1, head.Kind, err)
		}
		fmt.Printf("%s: every field is known\n", head.Kind)
	}
	return nil
}
