# For who sets and rotates secrets: may write new versions and see when they were written, never read a value.
path "ot/data/nifi/+" {
  capabilities = ["create", "update", "patch"]
}

path "ot/metadata/nifi/+" {
  capabilities = ["read", "list"]
}

path "ot/metadata/nifi" {
  capabilities = ["list"]
}
