package store

var _ = addPlans(
	plan{"users of a tenant", usersSQL, []any{"t", "u", 50}},
	plan{"login by name", usersByNameSQL, []any{"ada", 8}},
	plan{"login by e-mail", usersByEmailSQL, []any{"ada@example.org", 8}},
	plan{"user of a tenant by name", userByNameSQL, []any{"t", "ada"}},
	plan{"user of a tenant by e-mail", userByEmailSQL, []any{"t", "ada@example.org"}},
	plan{"active administrators", activeAdminsSQL, []any{"t"}},
	plan{"session by token", sessionByDigestSQL, []any{"d"}},
	plan{"session by exchanged token", sessionByPreviousSQL, []any{"d"}},
	plan{"sessions of a user", sessionsOfUserSQL, []any{"t", "u", 50}},
	plan{"old sessions", oldSessionsSQL, []any{1, 500}},
	plan{"keys by public part", keysByPublicSQL, []any{"abcd2345"}},
	plan{"keys of a user", keysOfUserSQL, []any{"t", "u", 50}},
	plan{"old login failures", oldLoginFailuresSQL, []any{1, 500}},
	plan{"tenants", tenantsSQL, []any{"", 50}},
)
