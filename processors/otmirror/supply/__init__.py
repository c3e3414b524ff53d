"""What the bundle is made of: its bill of materials, its licences, its known vulnerabilities."""
