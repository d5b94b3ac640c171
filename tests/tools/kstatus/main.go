// Kstatus prints for each object on standard input, JSON one after the other, what kstatus makes of its status: Current, InProgress, Failed,
// Terminating or Unknown. It is the library by which Flux, Argo CD's health checks and kubectl-based pipelines wait.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	objects := json.NewDecoder(os.Stdin)
	for {
		var text json.RawMessage
		err := objects.Decode(&text)
		if errors.Is(err, io.EOF) {
			return
		}
		var object unstructured.Unstructured
		if err == nil {
			err = object.UnmarshalJSON(text)
		}
		var computed *status.Result
		if err == nil {
			computed, err = status.Compute(&object)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		fmt.Println(computed.Status)
	}
}
