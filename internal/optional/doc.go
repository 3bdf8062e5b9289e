// Package optional tells the three states of a JSON key apart: absent, null and a value. Inputs of partial updates
// are made of it. It decides nothing about what null means: PUT keeps the stored value, PATCH clears it.
package optional
