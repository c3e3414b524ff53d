# For who sets and rotates secrets: may write new versions and see when they were written, never read a value.
path "otmirror/data/+" {
  capabilities = ["create", "update", "patch"]
}

path "otmirror/metadata/+" {
  capabilities = ["read", "list"]
}

path "otmirror/metadata" {
  capabilities = ["list"]
}
