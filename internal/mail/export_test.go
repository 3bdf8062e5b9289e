package mail

import "bytes"

// Build gives the bytes of a message as they go out.
func Build(m *Message) ([]byte, error) {
	out, err := build(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = out.WriteTo(&b)
	return b.Bytes(), err
}
