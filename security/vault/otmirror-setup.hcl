# For `otmirror secrets setup`: the mount, the policies and the roles of this folder, and no secret's value.
path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/mounts/ot" {
  capabilities = ["create", "update"]
}

path "sys/auth" {
  capabilities = ["read"]
}

path "sys/auth/approle" {
  capabilities = ["create", "update", "sudo"]
}

path "sys/policies/acl/otmirror-*" {
  capabilities = ["create", "read", "update"]
}

path "auth/approle/role/otmirror-+" {
  capabilities = ["create", "read", "update"]
}

path "auth/approle/role/otmirror-+/role-id" {
  capabilities = ["read"]
}

path "auth/approle/role/otmirror-+/secret-id" {
  capabilities = ["create", "update"]
}
