import "./alone.css";
