package service

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/secret"
)

// secretNames are the credentials a connection can have.
var secretNames = []string{"api_key", "username", "password", "client_id", "client_secret", "webhook_secret"}

// IsSecretName reports whether a connection keeps a credential of that name.
func IsSecretName(name string) bool { return slices.Contains(secretNames, name) }

// secretsOf opens a connection's credentials.
func (c *core) secretsOf(sc account.Scope, con *crm.Connection) (map[string]secret.Masked, error) {
	return openSecrets(c.Secrets, sc.Tenant(), con)
}

func secretsAAD(tenant account.TenantID, id crm.ConnectionID) string {
	return string(tenant) + "/" + string(id) + "/credentials"
}

// seal puts the credentials into the connection; none at all clears them.
func (m *CRM) seal(sc account.Scope, con *crm.Connection, secrets map[string]secret.Masked) {
	plain := map[string]string{}
	for name, v := range secrets {
		if v != "" {
			plain[name] = v.Reveal()
		}
	}
	con.Credentials, con.CredentialsHint = nil, ""
	if len(plain) == 0 {
		return
	}
	b, _ := json.Marshal(plain)
	con.Credentials = m.Secrets.Seal(b, secretsAAD(sc.Tenant(), con.ID))
	con.CredentialsHint = secret.Masked(plain["api_key"]).Hint()
}

func openSecrets(box *secret.Box, tenant account.TenantID, con *crm.Connection) (map[string]secret.Masked, error) {
	out := map[string]secret.Masked{}
	if con.Credentials == nil {
		return out, nil
	}
	b, err := box.Open(con.Credentials, secretsAAD(tenant, con.ID))
	if err != nil {
		return nil, err
	}
	plain := map[string]string{}
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, err
	}
	for name, v := range plain {
		out[name] = secret.Masked(v)
	}
	return out, nil
}

// secretsDigest tells whether the same credentials were sent again, without opening the stored ones. It needs the key,
// so that a stolen database cannot be searched with guesses.
func (m *CRM) secretsDigest(sc account.Scope, con *crm.Connection, secrets map[string]secret.Masked) string {
	mac := hmac.New(sha256.New, m.Secrets.Derive("connection credentials digest", 32))
	fmt.Fprintf(mac, "%s\n%s\n%s\n", sc.Tenant(), con.Type, con.Name)
	set := false
	for _, name := range secretNames {
		if v := secrets[name]; v != "" {
			set = true
			fmt.Fprintf(mac, "%s=%q\n", name, v.Reveal())
		}
	}
	if !set {
		return ""
	}
	return hex.EncodeToString(mac.Sum(nil))
}
