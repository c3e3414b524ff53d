# Only for NiFi's own parameter provider, beside otmirror-read-*: it lists the names of the secrets before it reads one.
path "otmirror/metadata" {
  capabilities = ["list"]
}
