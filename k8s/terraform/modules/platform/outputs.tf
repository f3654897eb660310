output "versions" {
  description = "What is installed."
  value       = { for name, release in helm_release.this : name => release.version }
}
