{{/*
A Deployment around "tumorsite.pod", whose dict it takes, and beside it:
  strategy   YAML
  scaled     true where an autoscaler holds the number of pods, so that an upgrade does not reset it
  replicas   otherwise
*/}}
{{- define "tumorsite.deployment" -}}
{{- $names := dict "root" .root "part" .part -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "tumorsite.name" $names }}
  labels: {{ include "tumorsite.labels" $names | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  # A rollout that stands still is reported after this.
  progressDeadlineSeconds: 600
  selector:
    matchLabels: {{ include "tumorsite.selector" $names | nindent 6 }}
  strategy: {{ toYaml .strategy | nindent 4 }}
  template:
    metadata:
      labels: {{ include "tumorsite.labels" $names | nindent 8 }}
      annotations:
        # Changed settings come with new pods, as the environment is read once.
        checksum/settings: {{ include "tumorsite.settings" .root | sha256sum }}
        kubectl.kubernetes.io/default-container: {{ .part }}
        {{- with .values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec: {{ include "tumorsite.pod" . | nindent 6 }}
{{- end }}

{{/*
A worker of one queue. Takes root, part, queue, role, values, `node`, the worker's first name, and
`more`, further words of its command, or nothing.
SIGTERM begins a soft shutdown: the task at hand goes on for values.softShutdownSeconds, then it is
given back to the queue. The pod's grace must be longer, or the kernel ends both.
*/}}
{{- define "tumorsite.worker" -}}
{{- if ge (add .values.softShutdownSeconds 10) (int64 .values.graceSeconds) }}
{{- fail (printf "%s: graceSeconds (%v) must exceed softShutdownSeconds (%v) by more than 10, or a task is killed before it is given back" .part .values.graceSeconds .values.softShutdownSeconds) }}
{{- end }}
{{- /* A run of training goes on from its checkpoint; every other task must come to its end. */ -}}
{{- $longest := .values.env.TASK_HARD_LIMIT | default .root.Values.settings.TASK_HARD_LIMIT | default 30 | int64 }}
{{- if and (ne .part "training") (le (int64 .values.softShutdownSeconds) $longest) }}
{{- fail (printf "%s: softShutdownSeconds (%v) must exceed TASK_HARD_LIMIT (%d), or a task is broken off that may still take its time" .part .values.softShutdownSeconds $longest) }}
{{- end }}
{{- $probe := list "python" "-m" "tumorsite.probe" "worker" -}}
{{- $command := list "python" "-m" "celery" "--app" "tumorsite" "--quiet" "worker"
    "--queues" .queue "--hostname" (printf "%s@%%h" .node)
    "--pool" "prefork" "--concurrency" "1" "--without-gossip" "--without-mingle" "--loglevel" "INFO" -}}
{{- $command = concat $command (.more | default list) -}}
{{- $probes := dict
    "startupProbe" (dict "exec" (dict "command" (append $probe "ready")) "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" .values.startAttempts)
    "readinessProbe" (dict "exec" (dict "command" (append $probe "ready")) "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 2)
    "livenessProbe" (dict "exec" (dict "command" (append $probe "live")) "periodSeconds" 30 "timeoutSeconds" 10 "failureThreshold" 4) -}}
{{- $env := dict "SOFT_SHUTDOWN_SECONDS" .values.softShutdownSeconds "REMAP_SIGTERM" "SIGQUIT" -}}
{{- $ports := list (dict "name" "metrics" "containerPort" 9100 "protocol" "TCP") -}}
{{- include "tumorsite.deployment" (merge (dict "command" $command "probes" $probes "ports" $ports "env" $env
    "grace" .values.graceSeconds "scaled" .values.autoscaling.enabled "replicas" .values.replicas "spread" true) .) }}
{{- end }}

{{/*
An init container that waits for the tables: it fails, and is started again, until every migration
of this code has been applied. Training may come as an application of its own, beside the site's.
*/}}
{{- define "tumorsite.schema" -}}
name: schema
command: [python, manage.py, migrate, --check]
{{- end }}
