"""What Telegraf writes, read as samples; and its configuration, read as tag lists."""
