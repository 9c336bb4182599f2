// Command manifest reads manifests of Kubernetes as its API server does: a field that no
// such object has, or has twice, is an error.
//
//	manifest FILE…
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	log.SetFlags(0)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			log.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		objects := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			one, err := objects.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				log.Fatalf("%s: %v", file, err)
			}
			o, _, err := strict.Decode(one, nil, nil)
			if err != nil {
				log.Fatalf("%s: %v", file, err)
			}
			if d, ok := o.(*appsv1.DaemonSet); ok {
				for key, want := range d.Spec.Selector.MatchLabels {
					if d.Spec.Template.Labels[key] != want {
						log.Fatalf("%s: the selector does not match the template", file)
					}
				}
			}
			fmt.Printf("%s: %T is right\n", file, o)
		}
	}
}
