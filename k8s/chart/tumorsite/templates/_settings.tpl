{{/* Settings that are no secrets, for every part. All are in docs/settings.md. */}}
{{- define "tumorsite.settings" -}}
{{- $own := dict
    "DATA_DIR" "/data"
    "METRICS_PORT" "9100"
    "SITE_URL" .Values.site.url
    "ALLOWED_HOSTS" (join "," .Values.site.hosts)
    "PROXY_COUNT" (toString .Values.site.proxyCount)
    "STAFF_MFA" .Values.site.staffMfa
    "EMAIL_FROM" .Values.site.emailFrom
    "BUNDLED_MODEL" .Values.site.bundledModel
    "S3_BUCKET" .Values.s3.bucket
    "S3_REGION" .Values.s3.region
-}}
{{- if .Values.s3.endpointUrl }}{{ $_ := set $own "S3_ENDPOINT_URL" .Values.s3.endpointUrl }}{{ end -}}
{{- if .Values.s3.publicUrl }}{{ $_ := set $own "S3_PUBLIC_URL" .Values.s3.publicUrl }}{{ end -}}
{{- range $name, $value := .Values.settings }}
{{- if hasKey $own $name }}{{ fail (printf "settings.%s: this one has a value of its own in values.yaml" $name) }}{{ end }}
{{- $_ := set $own $name $value }}
{{- end -}}
{{- range $name, $value := $own }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
