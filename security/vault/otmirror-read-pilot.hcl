# What the NiFi that runs the flow "pilot" may do: read the newest version of its one secret, and look after its own
# token. No list, no older versions by another path, no writing.
path "otmirror/data/pilot" {
  capabilities = ["read"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}
