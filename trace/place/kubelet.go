package place

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Kubelet says how to ask the kubelet's HTTP interface. The zero value asks
// the port that wants no credentials, 127.0.0.1:10255, where it is open.
type Kubelet struct {
	// URL is scheme, host and port; "" is https://127.0.0.1:10250 where a
	// credential is named, else http://127.0.0.1:10255.
	URL string
	// TokenFile holds a bearer token; CertFile and KeyFile a client
	// certificate. They are read anew for each connection, as they are renewed.
	TokenFile, CertFile, KeyFile string
	// CAFile holds what the kubelet's certificate must be signed by, in PEM;
	// "" is the system's. The certificate must carry ServerName, or where that
	// is "" the URL's host, localhost, or this host's name.
	CAFile, ServerName string
	// Insecure leaves the kubelet's certificate unchecked: whoever listens on
	// that port is shown the token.
	Insecure bool
}

// kubelet asks GET /pods.
type kubelet struct {
	conf   Kubelet
	client *http.Client
}

// newKubelet reads every file that conf names, so that a wrong one is told
// at the start.
func newKubelet(conf Kubelet) (*kubelet, error) {
	credential := conf.TokenFile != "" || conf.CertFile != "" || conf.KeyFile != ""
	if conf.URL == "" {
		conf.URL = "http://127.0.0.1:10255"
		if credential || conf.CAFile != "" {
			conf.URL = "https://127.0.0.1:10250"
		}
	}
	u, err := url.Parse(conf.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse kubelet address %q: %w", conf.URL, err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("parse kubelet address %q: want http:// or https:// and a host", conf.URL)
	case u.Scheme == "http" && credential:
		return nil, fmt.Errorf("use kubelet address %q: a credential is sent over https only", conf.URL)
	}
	k := &kubelet{conf: conf}
	if _, err := k.token(); err != nil {
		return nil, err
	}
	if _, err := k.certificate(nil); err != nil {
		return nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: k.certificate, InsecureSkipVerify: true}
	if !conf.Insecure {
		var roots *x509.CertPool
		if conf.CAFile != "" {
			pem, err := readRegular(conf.CAFile, maxState, 0)
			if err != nil {
				return nil, fmt.Errorf("read kubelet CA: %w", err)
			}
			if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("read kubelet CA %q: no certificate in it", conf.CAFile)
			}
		}
		accept := []string{conf.ServerName}
		if conf.ServerName == "" {
			host, _ := os.Hostname()
			accept = []string{u.Hostname(), "localhost", host}
		}
		// crypto/tls checks one name only, and a kubelet's certificate often
		// carries the node's and not 127.0.0.1.
		trust.VerifyConnection = func(c tls.ConnectionState) error { return verify(c, roots, accept) }
	}
	k.client = &http.Client{
		Transport: &http.Transport{ // no proxy, and no connection kept
			DialContext:       (&net.Dialer{Timeout: askTime}).DialContext,
			TLSClientConfig:   trust,
			DisableKeepAlives: true,
		},
		// The token is for this address alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k, nil
}

// verify does what crypto/tls does by itself, for any one of several names.
func verify(c tls.ConnectionState, roots *x509.CertPool, accept []string) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("verify kubelet: no certificate")
	}
	leaf := c.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range c.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	if !slices.ContainsFunc(accept, func(name string) bool { return name != "" && leaf.VerifyHostname(name) == nil }) {
		return fmt.Errorf("verify kubelet: its certificate is for none of %s (if the node has another name: --kubelet-name)", strings.Join(accept, ", "))
	}
	return nil
}

func (k *kubelet) token() (string, error) {
	if k.conf.TokenFile == "" {
		return "", nil
	}
	data, err := readRegular(k.conf.TokenFile, maxProc, 0)
	if err != nil {
		return "", fmt.Errorf("read kubelet token: %w", err)
	}
	return string(bytes.TrimSpace(data)), nil
}

// certificate gives crypto/tls the client's, an empty one where none is named.
func (k *kubelet) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if k.conf.CertFile == "" && k.conf.KeyFile == "" {
		return &tls.Certificate{}, nil
	}
	if k.conf.CertFile == "" || k.conf.KeyFile == "" {
		return nil, errors.New("read kubelet certificate: certificate and key go together, one is missing")
	}
	cert, err := readRegular(k.conf.CertFile, maxState, 0)
	if err != nil {
		return nil, fmt.Errorf("read kubelet certificate: %w", err)
	}
	key, err := readRegular(k.conf.KeyFile, maxState, 0)
	if err != nil {
		return nil, fmt.Errorf("read kubelet key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read kubelet certificate %q: %w", k.conf.CertFile, err)
	}
	return &pair, nil
}

func (k *kubelet) list(ctx context.Context) (*roster, error) {
	token, err := k.token()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(k.conf.URL, "/")+"/pods", nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := k.client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) && req.URL.Scheme == "http" {
		return nil, fmt.Errorf("%w; the port without credentials is closed, the other wants a token or client certificate", err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("get %s: %s: it wants a token or client certificate that may read nodes/proxy or nodes/pods", req.URL, resp.Status)
	default:
		return nil, fmt.Errorf("get %s: %s", req.URL, resp.Status)
	}
	data, err := readAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", req.URL, err)
	}
	return parsePods(data)
}

// parsePods reads the JSON of a v1.PodList.
func parsePods(data []byte) (*roster, error) {
	type status struct{ Name, ContainerID string }
	var pods struct {
		Items []struct {
			Metadata struct{ Name, Namespace, UID string }
			Status   struct{ InitContainerStatuses, ContainerStatuses, EphemeralContainerStatuses []status }
		}
	}
	if err := json.Unmarshal(data, &pods); err != nil {
		return nil, fmt.Errorf("parse pods: %w", err)
	}
	all := newRoster()
	for _, p := range pods.Items {
		n := names{pod: p.Metadata.Name, namespace: p.Metadata.Namespace, podUID: p.Metadata.UID}
		all.addPod(n)
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
			all.addContainer(n, s.Name, s.ContainerID)
		}
	}
	return all, nil
}

// A roster is all that a kubelet knows, as it was at one time.
type roster struct {
	pods       map[string]names // by uid
	containers map[string]names // by id
	at         time.Time
}

func newRoster() *roster {
	return &roster{pods: make(map[string]names), containers: make(map[string]names), at: time.Now()}
}

func (r *roster) addPod(n names) { r.pods[n.podUID] = n }

// addContainer takes the id as kubelet writes it, RUNTIME://ID.
func (r *roster) addContainer(n names, name, id string) {
	if _, id, ok := strings.Cut(id, "://"); ok {
		n.container = name
		r.containers[id] = n
	}
}

func (r *roster) find(t target) names {
	if n, ok := r.containers[t.id]; ok {
		return n
	}
	return r.pods[t.podUID]
}

// cached makes a source of a list, which is asked for anew where the last one lacks
// what is wanted: soon if that is a pod, later if it is a container of one that it has,
// which kubelet takes a second to notice. It takes a tenth of the time at most.
func cached(list func(context.Context) (*roster, error)) func(context.Context, target) (names, error) {
	last := &roster{}
	var took time.Duration
	return func(ctx context.Context, t target) (names, error) {
		n := last.find(t)
		age := podAge
		if n.pod != "" {
			age = listAge
		}
		start := time.Now()
		if n.complete(t) || start.Sub(last.at) < max(age, 10*took) {
			return n, nil
		}
		all, err := list(ctx)
		took = time.Since(start)
		if err != nil {
			return n, err
		}
		last = all
		return last.find(t), nil
	}
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("larger than %d bytes", maxAnswer)
	}
	return data, err
}
