{{/*
The pod of one part. Takes a dict:
  root, part    the chart's context and the part's name (service account, secret, labels)
  role          image: web, worker or trainer
  command       what runs
  values        the part's values: resources, env, gpu, nodeSelector, tolerations …
  account       whose service account, secret and settings are used, if not the part's own
  probes, lifecycle, ports, init: YAML, or nothing
  grace         seconds; restart: Never for jobs
*/}}
{{- define "tumorsite.pod" -}}
{{- $account := .account | default .part -}}
serviceAccountName: {{ include "tumorsite.name" (dict "root" .root "part" $account) }}
automountServiceAccountToken: false
# Or every service of the namespace would add variables, PORT among them.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .grace | default 30 }}
{{- with .restart }}
restartPolicy: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ range . }}
  - name: {{ . }}{{ end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if .spread }}
topologySpreadConstraints:
  {{- range $key, $unmet := dict "topology.kubernetes.io/zone" "ScheduleAnyway" "kubernetes.io/hostname" "ScheduleAnyway" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $unmet }}
    # Of the new pods only, or a rollout would crowd them where old ones have left.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{ include "tumorsite.selector" (dict "root" $.root "part" $.part) | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .init }}
initContainers:
  {{- range . }}
  - {{ include "tumorsite.container" (merge (dict "root" $.root "part" $.part "account" $account "values" $.values "role" $.role) .) | indent 4 | trim }}
  {{- end }}
{{- end }}
containers:
  - {{ include "tumorsite.container" (merge (dict "name" .part "account" $account) .) | indent 4 | trim }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: {{ .values.tmpSize | default "256Mi" }}
  - name: data
    emptyDir:
      sizeLimit: {{ .values.dataSize | default "1Gi" }}
  {{- if include "tumorsite.role" (dict "root" .root "part" $account) }}
  - name: identity
    projected:
      sources:
        - serviceAccountToken:
            audience: {{ .root.Values.s3.audience }}
            expirationSeconds: 3600
            path: token
  {{- end }}
{{- end }}

{{/* The role that a part takes at the object store by its service account's token, or nothing. */}}
{{- define "tumorsite.role" -}}
{{- with include "tumorsite.principal" .part -}}
{{- index $.root.Values.s3.roles . -}}
{{- end -}}
{{- end }}

{{/* Settings that are secrets, of one part: the list that its ExternalSecret has too. */}}
{{- define "tumorsite.secrets" -}}
{{- $names := index .root.Values.secrets.parts .part -}}
{{- if and .root.Values.s3.keysFromSecret (include "tumorsite.principal" .part) -}}
{{- $names = concat $names (list "S3_ACCESS_KEY_ID" "S3_SECRET_ACCESS_KEY") -}}
{{- end -}}
{{- toJson $names -}}
{{- end }}

{{- define "tumorsite.container" -}}
name: {{ .name }}
image: {{ include "tumorsite.image" (dict "root" .root "role" .role) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ toJson .command }}
envFrom:
  - configMapRef:
      name: {{ include "tumorsite.name" (dict "root" .root "part" (ternary .account (include "tumorsite.shared" .root) (or (eq .account "migrate") (eq .account "register")))) }}
env:
  {{- range $name, $value := .values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- range $name, $value := .env }}
  - name: {{ $name }}
    value: {{ $value | toString | quote }}
  {{- end }}
  {{- range include "tumorsite.secrets" (dict "root" .root "part" .account) | fromJsonArray }}
  - name: {{ . }}
    valueFrom:
      secretKeyRef:
        name: {{ include "tumorsite.name" (dict "root" $.root "part" $.account) }}
        key: {{ . }}
  {{- end }}
  {{- with include "tumorsite.role" (dict "root" .root "part" .account) }}
  - name: AWS_ROLE_ARN
    value: {{ . }}
  - name: AWS_WEB_IDENTITY_TOKEN_FILE
    value: /var/run/identity/token
  - name: AWS_ROLE_SESSION_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
{{- with .ports }}
ports: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .probes }}
{{ toYaml . }}
{{- end }}
{{- with .lifecycle }}
lifecycle: {{ toYaml . | nindent 2 }}
{{- end }}
resources: {{ toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: data
    mountPath: /data
  {{- if include "tumorsite.role" (dict "root" .root "part" .account) }}
  - name: identity
    mountPath: /var/run/identity
    readOnly: true
  {{- end }}
{{- end }}
