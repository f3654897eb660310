{{/* What a part may know, fetched from the store of secrets; nothing secret is in the values. */}}
{{- define "tumorsite.externalSecret" -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ include "tumorsite.name" . }}
  labels: {{ include "tumorsite.labels" . | nindent 4 }}
  {{- with .hook }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  refreshInterval: {{ .root.Values.secrets.refreshInterval }}
  secretStoreRef:
    kind: {{ .root.Values.secrets.store.kind }}
    name: {{ .root.Values.secrets.store.name }}
  target:
    name: {{ include "tumorsite.name" . }}
    creationPolicy: Owner
  data:
    {{- $principal := include "tumorsite.principal" .part }}
    {{- range include "tumorsite.secrets" . | fromJsonArray }}
    {{- $key := . | lower | replace "_" "-" }}
    {{- /* The two principals at the object store have keys of their own. */}}
    {{- if hasPrefix "S3_" . }}{{ $key = printf "%s-%s" $principal $key }}{{ end }}
    - secretKey: {{ . }}
      remoteRef:
        key: {{ $.root.Values.secrets.prefix }}{{ $key }}
    {{- end }}
{{- end }}
