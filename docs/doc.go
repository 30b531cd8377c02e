// Package docs holds those documents that Healer itself serves.
package docs

import _ "embed"

// OpenAPI is the description of the HTTP API, in OpenAPI 3.1.
//
//go:embed openapi.yaml
var OpenAPI []byte
