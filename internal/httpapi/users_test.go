package httpapi

import (
	"fmt"
	"testing"
)

func TestUsers_CreateReadAndList(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin, other := s.login(t, "admin"), s.login(t, "admin-other")
	r := s.as(t, admin, "POST", "/api/users", `{"username":"Ada","email":"ada@example.org","password":"`+testPassword+`","role":"manager"}`).want(200)
	id := r.json()["id"].(string)
	if r.Header.Get("Location") != "/api/users/"+id || r.Header.Get("ETag") != `"1"` || r.json()["is_active"] != true || r.json()["role"] != "manager" {
		t.Errorf("created %s, %v", r.Body, r.Header)
	}
	s.login(t, "Ada")
	s.as(t, admin, "GET", "/api/users/"+id, "").want(200)
	missing := s.as(t, other, "GET", "/api/users/nothing", "")
	missing.problem(404, "not_found")
	s.as(t, other, "GET", "/api/users/"+id, "").problem(404, "not_found")
	for body, code := range map[string]string{
		`{"username":"ADA","password":"a long password"}`:                           "username_taken",
		`{"username":"bob","email":"Ada@Example.org","password":"a long password"}`: "email_taken",
	} {
		s.as(t, admin, "POST", "/api/users", body).problem(409, code)
	}
	s.as(t, other, "POST", "/api/users", `{"username":"Ada","email":"ada@example.org","password":"a long password"}`).want(200)
	got := s.as(t, admin, "POST", "/api/users", `{"email":"x","password":"short","role":"king"}`).problem(422, "validation_failed")
	if len(got) != 4 || got["username"] != "required" || got["email"] != "not_an_address" || got["password"] != "too_short" || got["role"] != "unknown_role" {
		t.Errorf("problems are %v", got)
	}
	s.as(t, admin, "POST", "/api/users", `{"username":"x","pasword":"a long password"}`).problem(422, "validation_failed")
	s.as(t, s.login(t, "manager"), "POST", "/api/users", `{"username":"x"}`).problem(403, "forbidden")

	list := s.as(t, admin, "GET", "/api/users?limit=4", "").want(200).json()
	if list["total"] != 6.0 || len(list["users"].([]any)) != 4 {
		t.Errorf("first page: %v", list)
	}
	next := fmt.Sprint(list["next_cursor"])
	if rest := s.as(t, admin, "GET", "/api/users?limit=4&cursor="+next, "").want(200).json(); len(rest["users"].([]any)) != 2 || rest["next_cursor"] != nil {
		t.Errorf("second page: %v", rest)
	}
	if rest := s.as(t, admin, "GET", "/api/users?limit=4&skip=4", "").want(200).json(); len(rest["users"].([]any)) != 2 {
		t.Errorf("after four: %v", rest)
	}
	s.as(t, other, "GET", "/api/users?cursor="+next, "").problem(422, "validation_failed")
	s.as(t, admin, "GET", "/api/users?cursor=x", "").problem(422, "validation_failed")
}

func TestUsers_RoleChangeEndsSessionsAndKeepsTheLastAdmin(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin, manager := s.login(t, "admin"), s.login(t, "manager")
	me, id := s.userID(t, admin, "admin"), s.userID(t, admin, "manager")
	s.as(t, admin, "PUT", "/api/users/"+me+"/role", `{"role":"guest"}`).problem(409, "last_admin")
	s.as(t, admin, "POST", "/api/users/"+me+"/deactivate", "").problem(409, "last_admin")
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"king"}`).problem(422, "validation_failed")
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{}`).problem(422, "validation_failed")
	s.as(t, admin, "PUT", "/api/users/nothing/role", `{"role":"guest"}`).problem(404, "not_found")
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"manager"}`).want(200) // changes nothing
	s.as(t, manager, "GET", "/api/auth/me", "").want(200)
	r := s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"admin"}`, "If-Match", `"1"`).want(200)
	if r.Header.Get("ETag") != `"2"` || r.json()["role"] != "admin" {
		t.Errorf("changed to %s, %v", r.Body, r.Header)
	}
	s.as(t, manager, "GET", "/api/auth/me", "").problem(401, "session_ended")
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"guest"}`, "If-Match", `"1"`).problem(412, "stale")
	s.as(t, admin, "POST", "/api/users/"+me+"/deactivate", "").want(200)
	s.as(t, admin, "GET", "/api/auth/me", "").want(401)
	s.as(t, s.login(t, "manager"), "GET", "/api/tenants", "").want(200)
}

// TestUsers_KeyCannotGiveMoreThanItHas: a key cut down to managing users must not make an administrator.
func TestUsers_KeyCannotGiveMoreThanItHas(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	_, key := s.key(t, admin, `,"scopes":["user:manage","user:read","lead:read","workflow:read","campaign:read","analytics:read"]`)
	s.as(t, key, "POST", "/api/users", `{"username":"eve","password":"a long password","role":"admin"}`).problem(403, "forbidden")
	s.as(t, key, "PUT", "/api/users/"+s.userID(t, admin, "guest")+"/role", `{"role":"admin"}`).problem(403, "forbidden")
	s.as(t, key, "PUT", "/api/users/"+s.userID(t, admin, "manager")+"/role", `{"role":"guest"}`).problem(403, "forbidden")
	s.as(t, key, "POST", "/api/users", `{"username":"guest2","password":"a long password","role":"guest"}`).want(200)
}

func TestRoles_ListTheirPermissions(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	roles := s.as(t, s.login(t, "guest"), "GET", "/api/roles", "").want(200).json()["roles"].([]any)
	if len(roles) != 5 || roles[0].(map[string]any)["name"] != "admin" {
		t.Errorf("roles are %v", roles)
	}
}

func TestTenants_ForTheInstancesAdministratorsOnly(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	for _, who := range []string{"manager", "admin-other"} {
		token := s.login(t, who)
		for method, path := range map[string]string{"GET": "/api/tenants", "POST": "/api/tenants", "PUT": "/api/tenants/other/plan"} {
			s.as(t, token, method, path, `{"name":"x","plan":"pro"}`).problem(403, "forbidden")
		}
	}
	got := s.as(t, admin, "POST", "/api/tenants", `{"id":"A b","plan":"gold","admin":{"username":"","password":"short"}}`).problem(422, "validation_failed")
	if got["id"] == "" || got["name"] != "required" || got["plan"] != "unknown_plan" || got["admin.username"] != "required" || got["admin.password"] != "too_short" {
		t.Errorf("problems are %v", got)
	}
	r := s.as(t, admin, "POST", "/api/tenants", `{"id":"acme","name":"Acme","admin":{"username":"wile","password":"`+testPassword+`"}}`).want(200)
	if r.Header.Get("Location") != "/api/tenants/acme" || r.json()["plan"] != "free" {
		t.Errorf("created %s", r.Body)
	}
	s.as(t, admin, "POST", "/api/tenants", `{"id":"acme","name":"Acme"}`).problem(409, "tenant_taken")
	me := s.as(t, s.login(t, "wile"), "GET", "/api/auth/me", "").want(200).json()
	if me["tenant_id"] != "acme" || me["role"] != "admin" {
		t.Errorf("the tenant's administrator is %v", me)
	}
	old := s.as(t, admin, "GET", "/api/tenants/acme", "").want(200).Header.Get("ETag")
	s.as(t, admin, "PUT", "/api/tenants/acme/plan", `{"plan":"Pro"}`, "If-Match", old).want(200)
	s.as(t, admin, "PUT", "/api/tenants/acme/plan", `{"plan":"free"}`, "If-Match", old).problem(412, "stale")
	s.as(t, admin, "PUT", "/api/tenants/acme/plan", `{}`).problem(422, "validation_failed")
	s.as(t, admin, "PUT", "/api/tenants/nothing/plan", `{"plan":"free"}`).problem(404, "not_found")
	list := s.as(t, admin, "GET", "/api/tenants?limit=2", "").want(200).json()
	if list["total"] != 3.0 || len(list["tenants"].([]any)) != 2 {
		t.Errorf("first page: %v", list)
	}
	rest := s.as(t, admin, "GET", "/api/tenants?cursor="+list["next_cursor"].(string), "").want(200).json()
	if len(rest["tenants"].([]any)) != 1 {
		t.Errorf("second page: %v", rest)
	}
}
