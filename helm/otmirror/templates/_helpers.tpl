{{- define "otmirror.fullname" -}}
{{- default (printf "%s-otmirror" .Release.Name) .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The member of security/zones.toml that this release is. */}}
{{- define "otmirror.member" -}}
{{- printf "%s-nifi" .Values.role -}}
{{- end -}}

{{- define "otmirror.selector" -}}
app.kubernetes.io/name: {{ include "otmirror.member" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "otmirror.labels" -}}
{{ include "otmirror.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: otmirror
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "otmirror.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- define "otmirror.secret" -}}
{{- if .Values.secrets.external.enabled -}}{{ include "otmirror.fullname" . }}{{- else -}}{{ .Values.secrets.existing }}{{- end -}}
{{- end -}}

{{/* Files of the Secret that the pods mount, and no others. */}}
{{- define "otmirror.secretFiles" -}}
{{- $files := list "ca.pem" (printf "%s.p12" .Values.nifi.certificate) "keystore-password" "nifi-password" "nifi-sensitive-key" -}}
{{- if eq .Values.role "hub" -}}
{{- $files = concat $files (list "s3-access-key" "s3-secret-key" "victoriametrics-password") -}}
{{- end -}}
{{- $files | toJson -}}
{{- end -}}

{{- define "otmirror.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "otmirror.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* A volume with files of the Secret: `files`, in the release `root`. */}}
{{- define "otmirror.secretVolume" -}}
secret:
  secretName: {{ include "otmirror.secret" .root }}
  defaultMode: 0440
  items:
  {{- range .files }}
    - { key: {{ . }}, path: {{ . }} }
  {{- end }}
{{- end -}}

{{/* Where a member of the zones is: addresses that were given, else its pods in its zone's namespace; empty stays closed. */}}
{{- define "otmirror.peers" -}}
{{- $about := index .zones.members .other -}}
{{- $addresses := index .root.Values.network.addresses .other -}}
{{- if $addresses -}}
{{- range $addresses }}
- ipBlock: { cidr: {{ . }} }
{{- end }}
{{- else if not $about.outside -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ default (printf "otmirror-%s" $about.zone) (index .root.Values.network.namespaces $about.zone) }}
  podSelector: { matchLabels: { app.kubernetes.io/name: {{ .other }} } }
{{- end -}}
{{- end -}}

{{/* What the schema cannot say in words. */}}
{{- define "otmirror.check" -}}
{{- $secret := "(?i)(password|passwd|secret|token|credential|access.?key)" -}}
{{- range $name, $_ := .Values.flow.parameters -}}
{{- if regexMatch $secret $name -}}
{{- fail (printf "flow.parameters: %s is a secret and no value of a chart; its file belongs into the Secret" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.nifi.environment -}}
{{- if regexMatch $secret $name -}}
{{- fail (printf "nifi.environment: %s is a secret and no value of a chart; its file belongs into the Secret" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.secrets.existing .Values.secrets.external.enabled -}}
{{- fail "secrets: existing names a Secret and external would make another; give one of them" -}}
{{- end -}}
{{- if not (or .Values.secrets.existing .Values.secrets.external.enabled) -}}
{{- fail "secrets: name a Secret in secrets.existing, or set secrets.external; see docs/helm.md for its keys" -}}
{{- end -}}
{{- if and .Values.secrets.external.enabled (not (and .Values.secrets.external.path .Values.secrets.external.store.name)) -}}
{{- fail "secrets.external: needs path and store.name" -}}
{{- end -}}
{{- if eq .Values.role "edge" -}}
{{- if eq (empty .Values.tags.existingConfigMap) (empty .Values.tags.existingClaim) -}}
{{- fail "tags: an edge reads tag lists; give existingConfigMap or existingClaim" -}}
{{- end -}}
{{- end -}}
{{- end -}}
