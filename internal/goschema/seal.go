package goschema

// Seal makes every object of a decoded schema or document one that has no other
// fields, so that a test sees the ones that are not written down.
func Seal(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		if _, ok := v["properties"]; ok {
			v["additionalProperties"] = false
		}
		for _, sub := range v {
			Seal(sub)
		}
	case []any:
		for _, sub := range v {
			Seal(sub)
		}
	}
}
