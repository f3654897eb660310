variable "name" {
  description = "Name of the site's bucket; the data's and the logs' add to it."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{2,50}[a-z0-9]$", var.name))
    error_message = "name: 4 to 52 small letters, digits and hyphens; S3 allows no more."
  }
}

variable "site_url" {
  description = "Address of the site, whose pages may upload."
  type        = string
  validation {
    condition     = can(regex("^https://[a-z0-9.-]+$", var.site_url))
    error_message = "site_url: https and the host, without a slash at the end."
  }
}

variable "old_version_days" {
  description = "Days after which what was deleted or replaced is gone for good."
  type        = number
  default     = 30
  validation {
    condition     = var.old_version_days >= 7 && var.old_version_days <= 90
    error_message = "old_version_days: 7 to 90. A person who erases their scans must not wait longer."
  }
}

variable "log_days" {
  description = "Days for which access logs are kept."
  type        = number
  default     = 365
  validation {
    condition     = var.log_days >= 30
    error_message = "log_days: 30 or more."
  }
}
