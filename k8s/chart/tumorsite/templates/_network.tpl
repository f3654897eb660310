{{/* Peers and ports of one destination: addresses, or pods of a named namespace. */}}
{{- define "tumorsite.peers" -}}
{{- range .peers }}
{{- if .cidr }}
- ipBlock:
    cidr: {{ .cidr }}
    {{- with .except }}
    except: {{ toYaml . | nindent 6 }}
    {{- end }}
{{- else }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
  {{- with .pods }}
  podSelector:
    matchLabels: {{ toYaml . | nindent 6 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
All that one part may do on the network; what is not here is refused.
web takes requests from the ingress, Prometheus reads every part's metrics, and each part reaches
only what its list in network.reach names.
*/}}
{{- define "tumorsite.networkPolicy" -}}
{{- $network := .root.Values.network -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "tumorsite.name" . }}
  labels: {{ include "tumorsite.labels" . | nindent 4 }}
  {{- with .hook }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels: {{ include "tumorsite.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if or (eq .part "web") (and .root.Values.monitoring.enabled (not .hook) (ne .part "beat")) }}
  ingress:
    {{- if eq .part "web" }}
    - from: {{ include "tumorsite.peers" (dict "peers" $network.ingress) | trim | nindent 8 }}
      ports:
        - port: 8000
          protocol: TCP
    {{- end }}
    {{- if and .root.Values.monitoring.enabled (not .hook) (ne .part "beat") }}
    - from: {{ include "tumorsite.peers" (dict "peers" $network.monitoring) | trim | nindent 8 }}
      ports:
        - port: 9100
          protocol: TCP
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - to: {{ include "tumorsite.peers" (dict "peers" $network.dns) | trim | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- range index $network.reach .part }}
    {{- $destination := index $network.destinations . }}
    {{- if not $destination }}{{ fail (printf "network.reach.%s names %s, which network.destinations lacks" $.part .) }}{{ end }}
    - to: {{ include "tumorsite.peers" $destination | trim | nindent 8 }}
      ports:
        {{- range $destination.ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- end }}
{{- end }}
