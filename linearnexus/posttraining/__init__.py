"""What comes after training: conversations to learn from, adapters, chat."""
