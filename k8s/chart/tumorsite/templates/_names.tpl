{{/* Names and labels. Every function that is about one part takes (dict "root" $ "part" NAME). */}}

{{- define "tumorsite.name" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .part -}}
{{- end }}

{{- define "tumorsite.selector" -}}
app.kubernetes.io/name: tumorsite
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "tumorsite.labels" -}}
{{ include "tumorsite.selector" . }}
app.kubernetes.io/part-of: tumorsite
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What all of this release's pods have in common, and no other pod has. */}}
{{- define "tumorsite.all" -}}
app.kubernetes.io/name: tumorsite
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* registry/repository@digest where a digest is given, else :tag. Takes root and role. */}}
{{- define "tumorsite.image" -}}
{{- $image := index .root.Values.image .role -}}
{{- $name := printf "%s/%s" .root.Values.image.registry $image.repository -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ required (printf "image.%s.digest or image.tag must be given" .role) .root.Values.image.tag }}
{{- end -}}
{{- end }}

{{/* The parts that are switched on, with all that makes a service account, a secret, a policy. */}}
{{- define "tumorsite.parts" -}}
{{- $parts := list -}}
{{- if include "tumorsite.here" (list . "site") -}}
{{- $parts = list "web" "inference-cpu" "general" "beat" -}}
{{- if .Values.shadow.enabled }}{{ $parts = append $parts "shadow" }}{{ end -}}
{{- if .Values.inferenceGpu.enabled }}{{ $parts = append $parts "inference-gpu" }}{{ end -}}
{{- end -}}
{{- if and (include "tumorsite.here" (list . "training")) (or .Values.training.enabled .Values.training.schedule) }}{{ $parts = append $parts "training" }}{{ end -}}
{{- toJson $parts -}}
{{- end }}

{{/* Whether this rendering has the site, or training: takes (list $ "site") or (list $ "training"). */}}
{{- define "tumorsite.here" -}}
{{- if has (index . 0).Values.parts (list "all" (index . 1)) }}yes{{ end -}}
{{- end }}

{{/* The part whose name the settings of all parts have; two applications never own one object. */}}
{{- define "tumorsite.shared" -}}
{{- ternary "training-settings" "settings" (eq .Values.parts "training") -}}
{{- end }}

{{/* Who a part is at the object store: "site", "training" or nobody. */}}
{{- define "tumorsite.principal" -}}
{{- if eq . "training" }}training{{ else if not (has . (list "beat" "migrate")) }}site{{ end -}}
{{- end }}
