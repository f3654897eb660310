variable "subscription" {
  description = "Subscription of Azure."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-f-]{36}$", var.subscription))
    error_message = "subscription: its id, 36 characters."
  }
}

variable "account" {
  description = "Account of AWS. Another one's credentials are refused."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "account: 12 digits."
  }
}

variable "location" {
  description = "Region of Azure."
  type        = string
  default     = "germanywestcentral"
}

variable "region" {
  description = "Region of AWS."
  type        = string
  default     = "eu-central-1"
}

variable "operators" {
  description = "Groups of Entra ID whose members administer the cluster."
  type        = list(string)
}

variable "api_addresses" {
  description = "Networks from which the Kubernetes API may be reached."
  type        = list(string)
}

variable "argocd_host" {
  description = "Name at which Argo CD is reached."
  type        = string
}
