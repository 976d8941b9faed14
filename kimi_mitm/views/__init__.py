"""What people see of an exchange in mitmproxy's own views."""
