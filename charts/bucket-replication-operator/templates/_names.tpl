{{- define "brepl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "brepl.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "brepl.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "brepl.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "brepl.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "brepl.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "brepl.selector" -}}
app.kubernetes.io/name: {{ include "brepl.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* The labels of an object, of a list of the context and of further labels. Those of the chart win, since its selectors depend on them. */ -}}
{{- define "brepl.labelsWith" -}}
{{- $root := first . -}}
{{- $further := merge (dict) (last .) $root.Values.commonLabels -}}
{{- $selector := include "brepl.selector" $root | fromYaml -}}
{{- range $label, $_ := $selector -}}
{{- if hasKey $further $label -}}
{{- fail (printf "label %s is the chart's own: remove it from commonLabels and podLabels" $label) -}}
{{- end -}}
{{- end -}}
{{- $chart := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- merge (dict) $selector $chart $further | toYaml -}}
{{- end -}}

{{- define "brepl.labels" -}}
{{- include "brepl.labelsWith" (list . (dict)) -}}
{{- end -}}

{{- define "brepl.image" -}}
{{- $repository := required "image.repository is required, since no image is published yet: make image builds one, push it to your registry (docs/install-eks.md)" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The regular expression, in CEL, for a glob over a whole text: * matches any characters, ? matches one. */ -}}
{{- define "brepl.glob" -}}
'^' + {{ . }}.replace('.', '[.]').replace('*', '.*').replace('?', '.') + '$'
{{- end -}}

{{- /* What every pod of the chart runs as, and where its image is pulled from. */ -}}
{{- define "brepl.podSecurity" -}}
automountServiceAccountToken: true
{{- with .Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "brepl.containerSecurity" -}}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Who gives credentials to pods, which no proxy reaches: the agents of EKS and ECS, and the instance metadata service. */ -}}
{{- define "brepl.noProxy" -}}
{{- concat (list "169.254.170.23" "fd00:ec2::23" "169.254.170.2" "169.254.169.254") .Values.aws.noProxy | join "," -}}
{{- end -}}

{{- define "brepl.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
