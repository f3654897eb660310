variable "name" {
  description = "What both roles are named after: NAME-site and NAME-training."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}[a-z0-9]$", var.name))
    error_message = "name: 4 to 42 small letters, digits and hyphens, a letter first."
  }
}

variable "issuer" {
  description = "Issuer of the cluster's tokens (output of modules/cluster)."
  type        = string
  validation {
    condition     = startswith(var.issuer, "https://")
    error_message = "issuer: the https address that the cluster gives."
  }
}

variable "namespace" {
  description = "Namespace of the site."
  type        = string
  default     = "tumorsite"
  validation {
    condition     = can(regex("^[a-z0-9-]{1,63}$", var.namespace)) && !startswith(var.namespace, "preview-")
    error_message = "namespace: one name; previews run the code of any branch and never get these rights."
  }
}

variable "release" {
  description = "Name of the chart's release, with which its service accounts begin."
  type        = string
  default     = "tumorsite"
  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.release))
    error_message = "release: small letters, digits and hyphens."
  }
}

variable "site_bucket" {
  description = "Bucket of the site."
  type        = string
  validation {
    condition     = length(var.site_bucket) >= 3 && !strcontains(var.site_bucket, "*")
    error_message = "site_bucket: the name of one bucket."
  }
}

variable "data_bucket" {
  description = "Bucket of the data sets."
  type        = string
  validation {
    condition     = length(var.data_bucket) >= 3 && !strcontains(var.data_bucket, "*")
    error_message = "data_bucket: the name of one bucket."
  }
}

variable "data_prefix" {
  description = "DATASET_PREFIX of the settings."
  type        = string
  default     = "data"
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.data_prefix))
    error_message = "data_prefix: names with slashes between, none at the ends."
  }
}

variable "key" {
  description = "Key that encrypts both buckets."
  type        = string
  validation {
    condition     = startswith(var.key, "arn:aws:kms:")
    error_message = "key: the ARN of a KMS key."
  }
}
