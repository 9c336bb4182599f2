package exchange

import (
	"bytes"
	"testing"
)

func TestRoute(t *testing.T) {
	const uuid = "123E4567-e89b-12d3-a456-426614174000"
	tests := []struct{ target, want string }{
		{"/", "/"},
		{"", "/"},
		{"/users/42", "/users/{id}"},
		{"/users/42/", "/users/{id}/"},
		{"/users/42/posts/7?page=2&x=/9", "/users/{id}/posts/{id}"},
		{"/0", "/{id}"},
		{"/u/" + uuid + "/x", "/u/{uuid}/x"},
		{"/" + uuid[1:], "/" + uuid[1:]},
		{"/123E4567-e89b-12d3-a456-42661417400-", "/123E4567-e89b-12d3-a456-42661417400-"},
		{"/c/9fceb02d0ae598e95dc970b74767f19372d61af8", "/c/{hex}"},
		{"/c/9FCEB02D", "/c/{hex}"},
		{"/c/9fceb0", "/c/9fceb0"},
		{"/deadbeefcafe", "/deadbeefcafe"}, // may be a word
		{"/face", "/face"},
		{"/v1/items", "/v1/items"},
		{"/2024-01-02", "/2024-01-02"},
		{"/-", "/-"},
		{"/items/42.json", "/items/{id}.json"},
		{"/1.2", "/1.2"},
		{"/.5", "/.5"},
		{"/a;v=1/42;jsessionid=ABC#x", "/a/{id}"},
		{"//42//", "//{id}//"},
		{"http://user@host:80/users/42?q", "/users/{id}"},
		{"http://host", "/"},
		{"http://host?x=/1", "/"},
		{"*", "*"},
		{"host:443", "host:443"},
		{"?x", "/"},
	}
	for _, test := range tests {
		if got := string(Route([]byte("GET "), []byte(test.target))); got != "GET "+test.want {
			t.Errorf("Route of %q is %q, want %q", test.target, got[4:], test.want)
		}
	}
}

// FuzzRoute: a route is no longer than its target allows, has no query, and is
// its own route.
func FuzzRoute(f *testing.F) {
	f.Add("/users/42.json?x")
	f.Fuzz(func(t *testing.T, target string) {
		route := Route(nil, []byte(target))
		if bytes.ContainsAny(route, "?#") || len(route) > 6*len(target)+1 {
			t.Fatalf("%q", route)
		}
		if again := Route(nil, route); len(target) > 0 && target[0] == '/' && !bytes.Equal(again, route) {
			t.Fatalf("%q, and of that %q", route, again)
		}
	})
}
