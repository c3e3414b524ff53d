# For `otmirror secrets setup`: the mount, the policies and the roles of this folder, and no secret's value.
# Who writes policies can give itself more: make such a token for the set-up only, short-lived, and revoke it after.
path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/mounts/otmirror" {
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

path "auth/approle/role/otmirror-*" {
  capabilities = ["create", "read", "update"]
}
