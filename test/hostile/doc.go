// Package hostile sends the real server what nobody should: requests made from its own OpenAPI document, whole and bent, as
// several roles of two tenants; and connections that dawdle, flood, lie about their length or never end. It checks that
// every answer is one that the document knows, that no tenant sees another's data, and that memory, goroutines and files
// stay bounded.
package hostile
