output "roles" {
  description = "Roles of the two principals: s3.roles of the chart."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}
