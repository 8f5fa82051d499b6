"""What a teacher's embedding promises, before any student is trained."""
